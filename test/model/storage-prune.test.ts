import { expect, test } from "vitest";
import { containerText, planStoragePrune } from "../../src/model/storage-prune.ts";

const image = (id: string, ...names: string[]) => ({ id, names });
const IMAGES = [
  image("1", "quay.io/x/os:13"),
  image("2", "quay.io/x/os:12", "quay.io/x/os:old"),
  image("3", "docker.io/library/debian:latest"),
  image("4"),
  image("5", `quay.io/x/app@sha256:${"0".repeat(64)}`),
];
const gone = (...needed: string[]) => planStoragePrune(IMAGES, needed).map(({ id }) => id);

test("what no deployment is of goes, also what has no name", () => {
  expect(gone("quay.io/x/os:13")).toEqual(["2", "3", "4", "5"]);
  expect(gone("quay.io/x/os:old", `quay.io/x/app@sha256:${"0".repeat(64)}`)).toEqual([
    "1",
    "3",
    "4",
  ]);
});

test("names are the same however much of them goes without saying", () => {
  expect(gone("debian", "quay.io/x/os:13")).not.toContain("3");
  expect(gone("docker.io/library/debian")).not.toContain("3");
  expect(gone("localhost/debian")).toContain("3");
});

test("who does not know what is needed removes nothing", () => {
  expect(gone()).toEqual([]);
});

test("people are told a name, or else the id", () => {
  expect(containerText(IMAGES[1]!)).toBe("quay.io/x/os:12");
  expect(containerText(image("ab".repeat(32)))).toBe("abababababab");
});
