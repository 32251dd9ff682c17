// As switching.sv, for designs with several pixels in a beat: no others have the template.
bind pixel_convolution switching #(.WIDTH(PE * Terms * WEIGHT_BITS)) weight_words (.clk, .rst, .word(weights));
