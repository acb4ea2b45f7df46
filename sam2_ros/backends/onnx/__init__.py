# SPDX-License-Identifier: Apache-2.0
"""The stages of a model as ONNX graphs, and a model that runs them in onnxruntime. Knows nothing of a stream."""
