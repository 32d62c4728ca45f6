"""The rules of an OME-Zarr and of its files, one concern a module; `ngff_convert.validate` runs them all."""
