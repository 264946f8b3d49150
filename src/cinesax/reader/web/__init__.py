"""The page as the browser sees it: addresses, and who may ask."""
