"""Runs Olive in its own environment: `python child.py MODEL.onnx SAMPLES.npz PASS OUT`, with the pass's defaults."""

import json
import shutil
import sys
from pathlib import Path


def main() -> None:
    """Let one pass make a file; print its path."""
    from olive import run

    model, samples, kind, out = sys.argv[1:]
    folder = Path(out)
    shutil.rmtree(folder, ignore_errors=True)
    data = {
        "name": "calibration",
        "user_script": str(Path(__file__).with_name("samples.py")),
        "load_dataset_config": {"type": "calibration_samples", "path": samples},
        "dataloader_config": {"batch_size": 1},
    }
    is_static = kind != "OnnxDynamicQuantization"
    config = {
        "input_model": {"type": "OnnxModel", "model_path": model},
        "data_configs": [data] if is_static else [],
        "passes": {"quantize": {"type": kind} | ({"data_config": "calibration"} if is_static else {})},
        "log_severity_level": 3,
        "output_dir": str(folder),
        "cache_dir": str(folder / "cache"),
    }
    run(config)
    [found] = [path for path in folder.rglob("*.onnx") if "cache" not in path.relative_to(folder).parts]
    print(json.dumps({"file": str(found)}))


if __name__ == "__main__":
    main()
