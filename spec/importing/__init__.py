"""What the importers share: layers in the making, their names, rewrites to the spec's own forms, and writing.

An importer walks its model's nodes, drafts a layer for each (`Builder`), and hands what it has (`Imported`) to
`simplify` and then to `write`.
"""
