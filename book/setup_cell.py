# Setup, the same in every chapter. In Colab it installs nevf_lite and leaves torch and numpy alone.
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("nevf_lite") is None:
    import numpy
    import torch

    keep = [f"torch=={torch.__version__}", f"numpy=={numpy.__version__}"]
    home = "git+https://github.com/nevf-lite/nevf-lite"
    source = os.environ.get("NEVF_SOURCE", home)
    wanted = f"nevf-lite[live,study] @ {source}"
    install = [sys.executable, "-m", "pip", "install", "-q"]
    subprocess.run([*install, wanted, *keep], check=True)

from nevf_lite.chapters import begin

profile = begin()
profile
