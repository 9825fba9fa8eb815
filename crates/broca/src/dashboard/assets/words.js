// Numbers, times and names, as people read them.

const whole = new Intl.NumberFormat("en-GB");
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export const number = (value) => (value === null || value === undefined ? "–" : whole.format(value));

/** Micros to a time of day, with the day where it is not today. */
export function at(micros) {
  const date = new Date(micros / 1000);
  const time = clock.format(date);
  return date.toDateString() === new Date().toDateString() ? time : `${day.format(date)}, ${time}`;
}

export const exactly = (micros) => new Date(micros / 1000).toISOString().replace("T", " ").replace("Z", " UTC");

/** How long, in at most two figures that matter. */
export function long(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const s = Math.max(0, seconds);
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

let ahead = 0;
/** How far the server's clock is ahead of this one, as its last answer showed. */
export const serverIs = (micros) => { ahead = micros - Date.now() * 1000; };
export const now = () => Date.now() * 1000 + ahead;

export function ago(micros) {
  const seconds = (now() - micros) / 1e6;
  return seconds < 2 ? "just now" : `${long(seconds)} ago`;
}
export const until = (micros) => (micros <= now() ? "now" : `in ${long((micros - now()) / 1e6)}`);

/** The beginning of an id, which is enough to tell it apart where few stand together. */
export const brief = (id) => id.slice(0, 13);

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** Which colour a state has. */
const TONES = {
  received: "in", processing: "turn", completed: "out", stored: "out", delivered: "out", done: "out", running: "out", active: "wait", works: "out",
  failed: "failed", dead: "failed", unknown: "failed", broken: "failed", crash_looping: "failed", open: "failed", gone: "failed",
  held: "wait", retry: "wait", parked: "wait", ending: "wait", restarting: "wait", starting: "in", begun: "in", refused: "failed", half_open: "wait",
  pending: "in", delivering: "turn", answered: "out", started: "turn", stopping: "wait", waiting: "in",
};
export const tone = (state) => TONES[state] ?? "";

const SPOKEN = {
  crash_looping: "crash looping", half_open: "half open", wake_published: "Wake published", taken_over: "Taken over by another worker",
  turn_started: "Turn started", turn_resumed: "Turn taken up again", turn_answered: "Agent answered", turn_retry: "Turn failed, to be tried again",
  turn_dead: "Turn failed for good", turn_unknown: "Turn's outcome is not known", turn_cancelled: "Turn cancelled", run_known: "Agent named the run",
  answer_published: "Answer published", delivery_begun: "Delivery begun", delivery_retry: "Delivery failed, to be tried again",
  delivery_dead: "Delivery failed for good", delivery_unknown: "Delivery's outcome is not known", delivery_handed_back: "Delivery handed back",
  delivery_suppressed: "Answer kept back", delivery_taken_over: "Delivery taken over", dead_letter_published: "Dead letter published", part_sent: "Part sent",
  claimed: "Claimed by a worker", handed_over: "Handed over", mode_set: "Handled in another mode", stop_asked: "Asked to stop",
  conversation_renewed: "Agent's conversation begun anew", notice_owed: "Person is to be told", breaker_opened: "Endpoint is not asked", breaker_closed: "Endpoint is asked again",
};
export function spoken(word) {
  if (SPOKEN[word]) return SPOKEN[word];
  const text = String(word).replaceAll("_", " ");
  return text;
}
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Which colour a step of a journey has. */
export function step(kind) {
  if (/dead|failed|unknown|quarantined/.test(kind)) return "failed";
  if (/retry|parked|held|cancelled|suppressed|stop_asked|handed/.test(kind)) return "wait";
  if (/^delivered$|^answered$|turn_answered|^stored$|^resolved$/.test(kind)) return "out";
  if (/turn|run|claimed|taken_over|coalesced/.test(kind)) return "turn";
  if (/accepted|wake|released|replayed|edited/.test(kind)) return "in";
  return "";
}
