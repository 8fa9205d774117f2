"""What a converted model sees in a picture: attention, masks, components."""
