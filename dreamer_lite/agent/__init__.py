"""DreamerV3 itself: networks, world model, actor and critic, and one update of all of them."""
