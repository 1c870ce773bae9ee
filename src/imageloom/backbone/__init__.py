"""The pretrained network that turns a picture into a feature vector."""
