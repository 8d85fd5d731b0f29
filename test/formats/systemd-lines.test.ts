import fc from "fast-check";
import { expect, test } from "vitest";
import { systemdLines } from "../../src/formats/systemd-lines.ts";

test("words, quoted or not; no comments, no empty lines", () => {
  const text = `# comment\n\n  d  /var/log\t0755\nu root 0 "Super User" '/root dir' a\\ b "x\\x41\\"y" p"q r"s\n`;
  expect(systemdLines(text)).toEqual([
    ["d", "/var/log", "0755"],
    ["u", "root", "0", "Super User", "/root dir", "a b", 'xA"y', "pq rs"],
  ]);
});

test("an open quote is no reason to fail", () => {
  expect(systemdLines('d "/var')).toEqual([["d", "/var"]]);
  fc.assert(
    fc.property(fc.string(), (text) => {
      for (const words of systemdLines(text)) expect(Array.isArray(words)).toBe(true);
    }),
  );
});

test("what is quoted comes back", () => {
  const word = fc.string({
    unit: fc.constantFrom("a", " ", '"', "\\", "#", "'", "/"),
    minLength: 1,
  });
  const quote = (text: string) => `"${text.replace(/["\\]/g, "\\$&")}"`;
  fc.assert(
    fc.property(word, (text) => {
      expect(systemdLines(`d ${quote(text)}`)).toEqual([["d", text]]);
    }),
  );
});
