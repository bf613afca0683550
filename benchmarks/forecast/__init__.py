"""How well a checkpoint's bytes are told before any was saved: real saves beside the prediction."""
