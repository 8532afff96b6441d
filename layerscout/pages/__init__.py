"""What pages and figures are made of: palette, charts, tables, one page; plain values and records in, HTML, SVG and PNG out."""
