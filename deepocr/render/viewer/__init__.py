"""The viewer: page pictures with their regions on the left, the text on the right.

`viewer.css` and `viewer.js` work on whatever holds elements with `data-region`; the single-file
HTML of `render.html` and the service's web page use the same two files.
"""
