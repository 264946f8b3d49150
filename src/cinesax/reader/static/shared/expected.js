// What is expected of the network on an exam, in the same words in the worklist and on the page of the exam.

import { shown } from "./numbers.js";

export const DICE = "How well the network is expected to have drawn the LV cavity: its Dice with an expert's, 1 would be the same";
export const NO_DICE = "Nothing is predicted for contours or phases that a person has changed, or by a network without a calibration";

/** The reasons to expect larger errors than usual, as a clause; "" if nothing stands out. */
export function why({ reasons }) {
  return reasons.join(" and ");
}

/** The same with what follows from them. */
export function whole(reasons) {
  return ["larger errors expected", reasons].filter(Boolean).join(": ");
}

/** The interval in which the true EF is expected, {percent, ends, title} as texts; null if there is none. */
export function interval(trust) {
  const ends = [trust?.ef_low_percent ?? null, trust?.ef_high_percent ?? null];
  if (ends.includes(null)) return null;
  const percent = `${Math.round(100 * trust.level)} %`;
  const title = `In ${percent} of such exams the true EF lies in this interval`;
  return { percent, ends: ends.map((end) => shown(end)).join("–"), title };
}
