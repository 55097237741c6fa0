"""Tables: with rulings, without, their headings and cells, as HTML."""
