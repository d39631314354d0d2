"""What every guard is made of: settings, fits, composition, the registry and the folders they are saved in."""
