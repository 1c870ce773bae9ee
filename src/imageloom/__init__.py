"""imageloom: from web pages, URL lists and folders of pictures to a served image classifier."""
