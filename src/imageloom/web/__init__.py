"""What the server of predictions and the review page share: sockets, errors in one shape, the icon."""
