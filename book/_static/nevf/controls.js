// The controls: two rows of brains, presets, sliders that step through a list, and switches.
"use strict";

window.nevfControls = (() => {
  const { PRESETS, CHOICES, DEFAULT, VOXEL, same } = window.nevfState;
  const NAMES = { template: "the template", push: "the template, pushed" };
  const UNITS = { step: (value) => `${value} voxel${value > 1 ? "s" : ""}` };
  let root = null;

  const find = (name) => root.querySelector(`[data-part="${name}"]`);
  const brain = (name, drawn) =>
    name === "push" && drawn ? "your push" : (NAMES[name] ?? `person ${Number(name.slice(3))}`);

  // One row of brains to choose from. role: "fixed" or "moving".
  function row(role, slices, set, drawn) {
    const names = Object.keys(slices).filter((name) => role === "fixed" || name !== "push");
    for (const name of names) {
      const label = document.createElement("label");
      label.title = brain(name, drawn);
      const input = Object.assign(document.createElement("input"), {
        type: "radio",
        name: `nv-${role}`,
        value: name,
      });
      input.setAttribute("aria-label", `${role}: ${brain(name, drawn)}`);
      const canvas = document.createElement("canvas");
      label.append(input, canvas);
      find(`pick-${role}`).append(label);
      window.nevfPictures.still(canvas, slices[name]);
      input.addEventListener("change", () => {
        const changes = { [role]: name };
        if (name === "push") changes.moving = "template"; // whose truth is known
        set(changes);
      });
    }
  }

  // set: changes the state, see page.js. drawn: whether the push came from the playground.
  function listen(where, slices, set, drawn) {
    root = where;
    for (const role of ["fixed", "moving"]) row(role, slices, set, drawn);
    for (const [name, values] of Object.entries(CHOICES)) {
      const slider = root.querySelector(`[data-setting="${name}"]`);
      slider.max = values.length - 1;
      slider.addEventListener("input", () => set({ [name]: values[slider.value] }));
    }
    const { rate } = DEFAULT;
    find("siren").addEventListener("change", () => set({ field: "siren", rate }));
    find("voxel").addEventListener("change", () => set(VOXEL));
    for (const order of ["upsample-integrate", "integrate-upsample"]) {
      find(order).addEventListener("change", () => set({ order }));
    }
    for (const button of document.querySelectorAll("[data-nevf-preset]")) {
      button.addEventListener("click", () => {
        set(PRESETS[button.dataset.nevfPreset], true);
        if (!root.contains(button)) root.scrollIntoView({ block: "start" });
      });
    }
  }

  // Shows a state.
  function write(state) {
    for (const [name, values] of Object.entries(CHOICES)) {
      const slider = root.querySelector(`[data-setting="${name}"]`);
      const unused = name === "omega" && state.field === "voxel";
      const text = unused ? "not used" : (UNITS[name]?.(state[name]) ?? `${state[name]}`);
      slider.value = values.indexOf(state[name]);
      slider.disabled = unused;
      slider.setAttribute("aria-valuetext", text);
      root.querySelector(`[data-value="${name}"]`).textContent = text;
    }
    find(state.field).checked = true;
    find(state.order).checked = true;
    for (const role of ["fixed", "moving"]) {
      find(`pick-${role}`).querySelector(`[value="${state[role]}"]`).checked = true;
    }
    for (const button of root.querySelectorAll("[data-nevf-preset]")) {
      button.setAttribute("aria-pressed", same(state, PRESETS[button.dataset.nevfPreset]));
    }
  }

  return { listen, write };
})();
