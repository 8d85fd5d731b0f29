/** `cfsboot diff`, as it is shipped. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestMachine } from "../deployment/machine.ts";
import { fail, succeed } from "./on-machine.ts";

const status = (bash: string, more = "") =>
  `Package: bash\nStatus: install ok installed\nVersion: ${bash}\n${more}`;
const files = (bash: string, more = "", extra = "") => [
  { path: "var/lib/" },
  { path: "var/lib/dpkg/" },
  { path: "var/lib/dpkg/status", data: status(bash, more) },
  { path: "usr/large", data: `${bash}\n`.repeat(1000) },
  ...(extra === "" ? [] : [{ path: "usr/extra", data: extra }]),
];

let machine: TestMachine;
let first: string;
let second: string;
beforeAll(async () => {
  machine = new TestMachine();
  // the link that images have instead of /var would be in the way of the database
  const real = { path: "var", type: "5" } as const;
  first = await machine.stage(
    { version: "1", kargs: ["quiet"], files: [real, ...files("5.1")] },
    { counted: false },
  );
  machine.boot();
  second = await machine.stage({
    version: "2",
    kargs: ["debug"],
    files: [real, ...files("5.2", "\nPackage: vim\nVersion: 9\n", "12345")],
  });
});
afterAll(() => machine[Symbol.dispose]());

test("what runs and what is staged: kernel, arguments, packages, files", () => {
  const lines = succeed(machine, "diff").split("\n");
  expect(lines.slice(0, 6)).toEqual([
    `${first.slice(0, 12)} (booted) -> ${second.slice(0, 12)} (staged)`,
    "  kernel 6.12",
    "- karg quiet",
    "+ karg debug",
    "~ package bash 5.1 -> 5.2",
    "+ package vim 9",
  ]);
  expect(lines).toContain("+ /usr/extra (5 B)");
  expect(lines).toContain("~ /usr/large (4.0 kB, content)");
  expect(lines.at(-2)).toMatch(/^1 added \(5 B\), 0 removed \(0 B\), 4 changed \(.* -> .*\)$/);
  expect(succeed(machine, "diff", "--summary").split("\n")).toEqual([
    ...lines.slice(0, 6),
    lines.at(-2),
    "",
  ]);
});

test("sides have names of deployments and of images", () => {
  const { files } = JSON.parse(succeed(machine, "diff", "staged", "1", "--json"));
  expect(files).toContainEqual({
    change: "removed",
    path: "/usr/extra",
    type: "file",
    before: 5,
    after: null,
    aspects: [],
  });
  // the tag that pulls of the test give the newest image
  expect(JSON.parse(succeed(machine, "diff", second, "x", "--json")).files).toEqual([]);
  expect(fail(machine, "diff", "7")).toContain("deployment 7: there is no such deployment");
  expect(fail(machine, "diff", "no/such:image")).toContain(
    "image no/such:image: there is no such image",
  );
});
