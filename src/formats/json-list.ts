/** Large JSON documents most of which is one list: its elements are parsed one by one, so that they are never all in memory. */

const [QUOTE, BACKSLASH, COMMA, COLON] = [0x22, 0x5c, 0x2c, 0x3a];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Finds the list that is the value of `key` in the object that is the document, hands out the text of each of its elements,
 * in order, and returns the document with an empty list instead.
 *
 * Only looks for where they begin and end. So what is handed out and what is returned must be parsed, and the document is
 * JSON if all of it is: what is none leaves some part that is none.
 */
export function splitList(
  bytes: Uint8Array,
  key: string,
  take: (element: Uint8Array) => void,
): Uint8Array {
  let depth = 0;
  /** The last string of the outermost object, with its quotes; and what was the key before the last colon. */
  let text = "";
  let name = "";
  let open = -1;
  let start = -1;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]!;
    switch (byte) {
      case QUOTE: {
        const end = endOfString(bytes, at);
        if (depth === 1) text = asciiOf(bytes, at, Math.min(end, at + key.length + 2));
        at = end - 1;
        break;
      }
      case COLON:
        if (depth === 1) name = text;
        break;
      case OPEN_OBJECT:
      case OPEN_LIST:
        if (byte === OPEN_LIST && depth === 1 && open < 0 && name === `"${key}"`) {
          open = at;
          start = at + 1;
        }
        depth++;
        break;
      case COMMA:
        if (depth === 2 && start >= 0) {
          take(bytes.subarray(start, at));
          start = at + 1;
        }
        break;
      case CLOSE_OBJECT:
      case CLOSE_LIST:
        depth--;
        if (depth === 1 && start >= 0) {
          // nothing between the brackets is no element, but nothing behind a comma is one that makes no sense
          if (start > open + 1 || !isBlank(bytes, start, at)) take(bytes.subarray(start, at));
          return joined(bytes.subarray(0, open + 1), bytes.subarray(at));
        }
    }
  }
  return bytes;
}

/** The offset behind the string that begins at `at`; the end of all if it has none. */
function endOfString(bytes: Uint8Array, at: number): number {
  for (let i = at + 1; i < bytes.length; i++) {
    if (bytes[i] === BACKSLASH) i++;
    else if (bytes[i] === QUOTE) return i + 1;
  }
  return bytes.length;
}

function asciiOf(bytes: Uint8Array, start: number, end: number): string {
  return String.fromCharCode(...bytes.subarray(start, end));
}

function isBlank(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (bytes[at]! > 0x20) return false;
  return true;
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}
