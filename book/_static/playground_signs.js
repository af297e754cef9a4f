// Numbers as they are set in print, for everything that moves by hand.
"use strict";

window.nevfSigns = (() => {
  // A minus is longer than a hyphen, and there is none before a nought.
  const minus = (number) => `${number}`.replace("-", "−").replace(/^−(0(\.0+)?)$/, "$1");

  // Two decimals; three where two would hide the sign.
  const signed = (value) => minus(value.toFixed(Math.abs(value) < 0.1 ? 3 : 2));

  return { minus, signed };
})();
