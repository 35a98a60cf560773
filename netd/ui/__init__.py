"""The page that shows the topology: its files, and one HTML document made of them."""
