import { expect, test } from "vitest";
import { parseMountOptions, splitEscaped, unescapeValue } from "../../src/formats/mount-options.ts";

test("options with and without values; empty ones are nothing", () => {
  expect(parseMountOptions("ro,basedir=/a,,digest=a=b,x=,")).toEqual([
    { key: "ro", value: undefined },
    { key: "basedir", value: "/a" },
    { key: "digest", value: "a=b" },
    { key: "x", value: "" },
  ]);
  expect(parseMountOptions("")).toEqual([]);
});

test("a backslash takes a separator into a value", () => {
  const [basedir, ro] = parseMountOptions("basedir=/a\\,b:/c\\:d\\\\:/e,ro");
  expect(ro).toEqual({ key: "ro", value: undefined });
  const paths = splitEscaped(basedir!.value!, ":").map(unescapeValue);
  expect(paths).toEqual(["/a,b", "/c:d\\", "/e"]);
  expect(splitEscaped("\\", ",")).toEqual(["\\"]);
});
