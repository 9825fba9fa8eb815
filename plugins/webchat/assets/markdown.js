// Markdown, a safe subset of it, as elements. Text only ever becomes text: no markup that somebody wrote is markup here.

const MAX_INLINE = 4000;
const MAX_DEPTH = 4;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

// An address that may be followed, or null.
function safeAddress(text) {
  try {
    const url = new URL(text);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function link(label, address) {
  return element("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow" }, label);
}

const INLINE = [
  "`([^`\\n]+)`",
  "\\*\\*(?=\\S)([^\\n]+?)\\*\\*",
  "\\*(?=\\S)([^*\\n]+?)\\*",
  "(?<![\\w])_(?=\\S)([^_\\n]+?)_(?![\\w])",
  "~~(?=\\S)([^~\\n]+?)~~",
  "\\[([^\\]\\n]+)\\]\\(([^()\\s]+)\\)",
  "(https?:\\/\\/[^\\s<>\"']+)",
].join("|");

function inline(text, depth = 0) {
  const out = document.createDocumentFragment();
  // A line of such a length is data; looking for marks in it costs more than it is worth.
  if (text.length > MAX_INLINE || depth > MAX_DEPTH) {
    out.append(text);
    return out;
  }
  let at = 0;
  for (const match of text.matchAll(new RegExp(INLINE, "gu"))) {
    out.append(text.slice(at, match.index));
    at = match.index + match[0].length;
    const [whole, code, strong, star, under, gone, label, target, bare] = match;
    if (code !== undefined) out.append(element("code", {}, code));
    else if (strong !== undefined) out.append(element("strong", {}, inline(strong, depth + 1)));
    else if (star !== undefined) out.append(element("em", {}, inline(star, depth + 1)));
    else if (under !== undefined) out.append(element("em", {}, inline(under, depth + 1)));
    else if (gone !== undefined) out.append(element("del", {}, inline(gone, depth + 1)));
    else if (label !== undefined) {
      const address = safeAddress(target);
      out.append(address ? link(label, address) : whole);
    } else {
      // A full stop behind an address ends the sentence.
      const trimmed = bare.replace(/[.,;:!?)\]]+$/, "");
      const address = safeAddress(trimmed);
      out.append(address ? link(trimmed, address) : trimmed, bare.slice(trimmed.length));
    }
  }
  out.append(text.slice(at));
  return out;
}

function lines(texts) {
  const out = document.createDocumentFragment();
  texts.forEach((text, at) => {
    if (at > 0) out.append(element("br"));
    out.append(inline(text));
  });
  return out;
}

const FENCE = /^\s{0,3}(```+|~~~+)/;
const ITEM = /^\s{0,3}(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
const HEADING = /^\s{0,3}(#{1,6})\s+(.*?)\s*#*$/;
const QUOTE = /^\s{0,3}>\s?(.*)$/;
const RULE = /^\s{0,3}([-*_])(?:\s*\1){2,}\s*$/;

function fence(rest) {
  const mark = rest.shift().match(FENCE)[1];
  const code = [];
  while (rest.length > 0) {
    const line = rest.shift();
    if (line.trim().startsWith(mark)) break;
    code.push(line);
  }
  return element("pre", { tabindex: "0" }, element("code", {}, code.join("\n")));
}

function list(rest) {
  const ordered = ITEM.exec(rest[0])[1];
  const items = [];
  while (rest.length > 0) {
    const item = ITEM.exec(rest[0]);
    if (item && RULE.test(rest[0])) break;
    if (item && (item[1] === undefined) === (ordered === undefined)) items.push([item[2]]);
    else if (/^\s{2,}\S/.test(rest[0])) items[items.length - 1].push(rest[0].trim().replace(/^[-*+]\s+/, "• "));
    else break;
    rest.shift();
  }
  const made = items.map((item) => element("li", {}, lines(item)));
  return ordered === undefined ? element("ul", {}, ...made) : element("ol", { start: ordered }, ...made);
}

function quote(rest, depth) {
  const quoted = [];
  while (rest.length > 0 && QUOTE.test(rest[0])) quoted.push(QUOTE.exec(rest.shift())[1]);
  return element("blockquote", {}, blocks(quoted, depth + 1));
}

function paragraph(rest) {
  const texts = [rest.shift()];
  const begins = (line) => [FENCE, ITEM, HEADING, QUOTE, RULE].some((mark) => mark.test(line));
  while (rest.length > 0 && rest[0].trim() !== "" && !begins(rest[0])) texts.push(rest.shift());
  return element("p", {}, lines(texts));
}

function blocks(rest, depth) {
  const out = document.createDocumentFragment();
  while (rest.length > 0) {
    if (rest[0].trim() === "") rest.shift();
    else if (FENCE.test(rest[0])) out.append(fence(rest));
    else if (RULE.test(rest[0])) out.append((rest.shift(), element("hr")));
    else if (HEADING.test(rest[0])) out.append(element("p", { class: "heading" }, inline(HEADING.exec(rest.shift())[2])));
    else if (QUOTE.test(rest[0]) && depth < MAX_DEPTH) out.append(quote(rest, depth));
    else if (ITEM.test(rest[0])) out.append(list(rest));
    else out.append(paragraph(rest));
  }
  return out;
}

function markdown(text) {
  return blocks(text.replace(/\r\n?/g, "\n").split("\n"), 0);
}
