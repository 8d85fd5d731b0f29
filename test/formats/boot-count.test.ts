import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  afterAttempt,
  bootState,
  joinBootCount,
  splitBootCount,
} from "../../src/formats/boot-count.ts";

test.each([
  ["a.conf", "a.conf", undefined],
  ["a+3.conf", "a.conf", { left: 3, done: 0 }],
  ["a+2-1.conf", "a.conf", { left: 2, done: 1 }],
  ["a+0-3.efi", "a.efi", { left: 0, done: 3 }],
  ["a+03-00.CONF", "a.CONF", { left: 3, done: 0 }],
  ["bootc_debian-12+deb1-1+3.conf", "bootc_debian-12+deb1-1.conf", { left: 3, done: 0 }],
])("%s is %s with %j", (fileName, name, tries) => {
  expect(splitBootCount(fileName)).toEqual({ name, tries });
});

test.each([
  ...["a+.conf", "a+3", "a+3.conf.bak", "a+3-.conf", "a+3-1-2.conf", "a+-1.conf", "a+x.conf"],
  ...["+3.conf", "a+3 .conf", "a+2147483648.conf", "a+1-99999999999.conf", "12+3-x.conf", ""],
])("%s holds no counter", (fileName) => {
  expect(splitBootCount(fileName)).toEqual({ name: fileName, tries: undefined });
  expect(afterAttempt(fileName)).toBe(fileName);
});

test("an entry that never comes up", () => {
  const names = ["a+3.conf"];
  for (let i = 0; i < 4; i++) names.push(afterAttempt(names.at(-1)!));
  expect(names).toEqual(["a+3.conf", "a+2-1.conf", "a+1-2.conf", "a+0-3.conf", "a+0-4.conf"]);
  expect(names.map((name) => bootState(splitBootCount(name).tries))).toEqual([
    ...["indeterminate", "indeterminate", "indeterminate", "bad", "bad"],
  ]);
  expect(bootState(undefined)).toBe("good");
});

describe("joining", () => {
  test("is what splitting undoes, in names of one width, too", () => {
    const name = fc
      .string({ unit: fc.constantFrom("a", "+", "-", "1", ".conf"), minLength: 1 })
      .chain((stem) => fc.constantFrom(`${stem}.conf`, `${stem}.efi`));
    const count = fc.integer({ min: 0, max: 0x7fffffff });
    fc.assert(
      fc.property(name, count, count, fc.integer({ min: 1, max: 4 }), (name, left, done, width) => {
        const joined = joinBootCount(name, { left, done }, width);
        expect(splitBootCount(joined)).toEqual({ name, tries: { left, done } });
        expect(joinBootCount(name, undefined)).toBe(name);
      }),
    );
  });

  test("keeps the width through all attempts", () => {
    expect(joinBootCount("a.conf", { left: 10, done: 0 }, 2)).toBe("a+10-00.conf");
    expect(afterAttempt("a+10-00.conf")).toBe("a+09-01.conf");
    expect(afterAttempt("a+01-09.efi")).toBe("a+00-10.efi");
    expect(afterAttempt("a+10.conf")).toBe("a+9-1.conf");
  });

  test("refuses what boot loaders would not take for a counter", () => {
    expect(() => joinBootCount("a", { left: 3, done: 0 })).toThrow('boot menu entry "a": expected');
    expect(() => joinBootCount(".conf", { left: 3, done: 0 })).toThrow("expected a name");
    expect(() => joinBootCount("a.conf", { left: 2 ** 31, done: 0 })).toThrow("cannot count");
    expect(() => joinBootCount("a.conf", { left: 1, done: -1 })).toThrow("cannot count -1 tries");
  });
});
