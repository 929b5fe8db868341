"""Networks in forms that need no layerlottery: ONNX, torch.export, plain weights, and a card that describes them."""
