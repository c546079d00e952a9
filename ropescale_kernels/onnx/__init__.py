"""Exported programs for ONNX: the operators of this package become the standard RotaryEmbedding.

    program = torch.export.export(model, args, dynamic_shapes=dynamic_shapes)
    program = ropescale_kernels.onnx.prepare(program, max_position=4095)
    torch.onnx.export(program, f="model.onnx", opset_version=23)

Importing this package imports neither onnx nor onnxscript; only torch.onnx.export needs them.
"""

from .program import prepare

__all__ = ["prepare"]
