"""`imageloom review`: the page on which people look at doubtful pictures and decide about them."""
