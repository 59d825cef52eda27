"""How well a fake is broken, and how little a photo changed. numpy only."""
