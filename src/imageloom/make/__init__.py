"""`imageloom make`: from a folder of pictures to a model in one command, with the flags of make_image_classifier."""
