import fc from "fast-check";
import { expect, test } from "vitest";
import { splitList } from "../../src/formats/json-list.ts";

/** What comes out when all parts are parsed; `undefined` if one of them is no JSON. */
function read(text: string): unknown {
  const list: unknown[] = [];
  try {
    const rest = splitList(Buffer.from(text), "list", (element) => {
      list.push(JSON.parse(Buffer.from(element).toString()));
    });
    const document = JSON.parse(Buffer.from(rest).toString());
    return list.length > 0 ? { ...document, list } : document;
  } catch {
    return undefined;
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

test("the parts are those of the document, however it is written", () => {
  const other = fc.dictionary(fc.string(), fc.jsonValue());
  fc.assert(
    fc.property(other, fc.array(fc.jsonValue()), other, fc.nat(4), (before, list, after, space) => {
      const text = JSON.stringify({ ...before, list, ...after, "": 1 }, undefined, space);
      expect(read(text)).toEqual(JSON.parse(text));
    }),
  );
});

test("what is no JSON stays so", () => {
  const token = fc.constantFrom(
    ..."{}[],: ".split(""),
    '"list"',
    '"a"',
    '"list":[',
    "1",
    "\\",
    '"',
    '{"list":[1,{"list":[2]}]}',
  );
  fc.assert(
    fc.property(fc.array(token, { maxLength: 12 }), (tokens) => {
      const text = tokens.join("");
      const object = parse(text);
      // other documents have no keys; of a key that is there twice the first one is meant here
      if (/"list".*"list"/s.test(text)) read(text);
      else expect(read(text)).toEqual(object);
    }),
    { numRuns: 2000 },
  );
});

test.each([
  ['{"list":[1,]}', undefined],
  ['{"list":[,1]}', undefined],
  ['{"list":[1,,2]}', undefined],
  ['{"list":[1 2]}', undefined],
  ['{"list":[1}]', undefined],
  ['{"list":[1]', undefined],
  ['{"list":[ ]}', { list: [] }],
  [
    '{"a":{"list":[1]},"b":"list","list":["]",[","],"\\""]}',
    { a: { list: [1] }, b: "list", list: ["]", [","], '"'] },
  ],
])("%s", (text, expected) => {
  expect(read(text)).toEqual(expected);
  expect(parse(text)).toEqual(expected);
});
