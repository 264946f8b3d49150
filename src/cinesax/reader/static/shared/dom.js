// Elements from plain values. No markup is ever made from text: what a file or a person wrote stays text.

/**
 * An element.
 *
 * @param tag "button" or "button.primary.small"
 * @param properties attributes; `on` holds listeners; `class`, `text` and `data` have their usual meaning; null and false are left out
 * @param children elements, texts, null
 */
export function h(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.classList.add(...classes);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (key === "data") Object.assign(element.dataset, value);
    else if (key === "text") element.textContent = value;
    else if (key === "class") element.classList.add(...String(value).split(" ").filter(Boolean));
    else if (key in element && typeof value !== "string") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** An icon of 20 x 20 from path data. */
export function icon(...paths) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  for (const data of paths) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", data);
    svg.append(path);
  }
  return svg;
}

/** Replace the children of an element. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Set a text only if it changed: nothing blinks, and a selection survives. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
