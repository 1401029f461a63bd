"""History in, a bundle of four calibrated ONNX models out."""
