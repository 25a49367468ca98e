/** A colour scale from dark to light whose lightness rises evenly, also for colour-blind eyes. */

const STOPS = [
  [0, 0, 4], [27, 12, 65], [74, 12, 107], [120, 28, 109], [165, 44, 96],
  [207, 68, 70], [237, 105, 37], [251, 155, 6], [247, 209, 61], [252, 255, 164],
];
const SHADES = 256;

/** The scale ("inferno") as 256 colours of three bytes. */
export const SCALE = scale();

function scale() {
  const colours = new Uint8ClampedArray(3 * SHADES);
  for (let shade = 0; shade < SHADES; shade += 1) {
    const place = (shade / (SHADES - 1)) * (STOPS.length - 1);
    const below = Math.min(Math.floor(place), STOPS.length - 2);
    for (let channel = 0; channel < 3; channel += 1) {
      const [low, high] = [STOPS[below][channel], STOPS[below + 1][channel]];
      colours[3 * shade + channel] = low + (high - low) * (place - below);
    }
  }
  return colours;
}
