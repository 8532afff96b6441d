"""The colours of every figure: names in, hexadecimal colours out."""

# Okabe & Ito's palette: told apart with every common colour blindness, and by lightness in print
BLUE, SKY, ORANGE, GREEN, RED, PURPLE, BLACK, GREY = "#0072B2", "#56B4E9", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#222222", "#767676"
