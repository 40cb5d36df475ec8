/** Camera moves as small pictures: a frame, and what the move does to what is in it. */

const MOVES: Record<string, string> = {
  none: "", static: "static",
  dolly_in: "in", dolly_out: "out", dolly_left: "left", dolly_right: "right", jib_up: "up", jib_down: "down",
};
const ARROWS: Record<string, string> = {
  in: "M6 5l6 5M8 10.5h4.5V6M42 5l-6 5M40 10.5h-4.5V6M6 27l6-5M8 21.5h4.5V26M42 27l-6-5M40 21.5h-4.5V26",
  out: "M12 10L6 5M6 9V5h4.5M36 10l6-5M42 9V5h-4.5M12 22l-6 5M6 23v4h4.5M36 22l6 5M42 23v4h-4.5",
  left: "M11 12l-5 4 5 4M6 16h8", right: "M37 12l5 4-5 4M42 16h-8",
  up: "M20 9l4-5 4 5M24 4v7", down: "M20 23l4 5 4-5M24 28v-7",
};

/** Whether every one of these values has a picture. */
export const areMoves = (values: string[]) => values.every((value) => value in MOVES);

export function Pictogram({ value }: { value: string }) {
  const move = MOVES[value] ?? "";
  return (
    <svg class="pictogram" viewBox="0 0 48 32" aria-hidden="true" focusable="false">
      {move === "" ? <path class="off" d="M14 8l20 16M34 8L14 24" /> : <Scene move={move} />}
      <rect class="frame" x="1" y="1" width="46" height="30" rx="4" />
    </svg>
  );
}

function Scene({ move }: { move: string }) {
  return (
    <>
      <g class={`scene move-${move}`}>
        <path class="ground" d="M-10 24h68" />
        <path class="tree" d="M15 24l5-12 5 12z" />
        <rect class="house" x="27" y="17" width="8" height="7" />
      </g>
      {ARROWS[move] && <path class="arrow" d={ARROWS[move]} />}
    </>
  );
}
