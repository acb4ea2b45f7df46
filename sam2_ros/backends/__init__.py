"""What executes the model: PyTorch, or ONNX graphs exported from it. Knows neither ROS nor how a stream is followed."""
