"""How far the models and the policies of a bundle can be trusted: calibration, and the value of policies nobody has run."""
