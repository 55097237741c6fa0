"""The viewer: page pictures with their regions on the left, the text on the right.

`viewer.css` and `viewer.js` work with any elements that have `data-region`; the single-file
HTML of `render.html` and the service's web page use the same two files.
"""
