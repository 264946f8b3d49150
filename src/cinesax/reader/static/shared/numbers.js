// Numbers for people, and numbers from people: "61,5" and "61.5" are the same.

/** A number with fixed decimals, or an en dash if it is missing. With a decimal point, as in the report. */
export function shown(value, digits = 0, unit = "") {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return `${value.toFixed(digits).replace("-", "−")}${unit ? ` ${unit}` : ""}`;
}

/** A difference with its sign, or "" if one of the two is missing or both look the same. */
export function change(now, before, digits = 0) {
  if (now === null || now === undefined || before === null || before === undefined) return "";
  // The difference of the shown, rounded numbers, because a reader would subtract those.
  const difference = Number(now.toFixed(digits)) - Number(before.toFixed(digits));
  const rounded = Math.abs(difference).toFixed(digits);
  if (Number(rounded) === 0) return "";
  return `${difference > 0 ? "+" : "−"}${rounded}`;
}

/** The number in a text, with a decimal point or comma; null if there is none. */
export function parsed(text) {
  const plain = text.trim().replace(/\s/g, "").replace("−", "-").replace(",", ".");
  if (!/^-?(\d+\.?\d*|\.\d+)$/.test(plain)) return null;
  return Number(plain);
}
