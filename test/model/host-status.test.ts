import { expect, test } from "vitest";
import { hostStatus, unknownHostStatus } from "../../src/model/host-status.ts";
import { statusText } from "../../src/model/host-status-text.ts";
import { filesOf, idOf, machineOf, menuOf } from "./machine.ts";

const os = { osId: "debian", version: "13" };

function machine(running: number, ...ids: number[]) {
  const menu = ids.map((number) => ({ id: idOf(number), entry: undefined }));
  const files = menu.map(({ id }, place) => {
    const [file] = filesOf({ menu: [{ id, entry: undefined }], dropped: [] }, os);
    return { ...file!, name: `bootc_debian-13-${ids.length - 1 - place}.conf` };
  });
  // one sort key: their names put them in order
  return machineOf(menuOf(files, "systemd-boot"), idOf(running));
}

const facts = (of: ReturnType<typeof machine>) => ({
  machine: of,
  images: new Map([
    [idOf(1), { version: "13.2", created: "2025-03-04T05:06:07.5Z", architecture: "amd64" }],
  ]),
  bootLoader: "systemd" as const,
  insecure: false,
  usrOverlay: { accessMode: "readWrite", persistence: "transient" } as const,
  readOnly: false,
  dropped: new Set<string>(),
  foreign: [],
  trouble: undefined,
  warnings: ["something is odd"],
});

test("in the normal state nothing is queued (bootc#1887, bootc#2405, bootc#2406)", () => {
  const host = hostStatus(facts(machine(1, 1, 2, 3)));
  expect(host.status).toMatchObject({ rollbackQueued: false });
  expect(host.spec.bootOrder).toBe("default");
  expect(host.cfsboot.deployments.map(({ slot, next }) => [slot, next])).toEqual([
    ["booted", true],
    ["rollback", false],
    ["other", false],
  ]);
  expect(host.status.otherDeployments).toHaveLength(1);
});

test("fs-verity is what each deployment demands, and of what runs what it was booted with", () => {
  const allowed = (insecure: boolean) => {
    const { booted, rollback } = hostStatus({ ...facts(machine(1, 1, 2)), insecure }).status;
    return [booted, rollback].map((entry) => entry!.composefs.missingVerityAllowed);
  };
  expect(allowed(true)).toEqual([true, false]);
  expect(allowed(false)).toEqual([false, false]);
});

test("a rollback that is queued is said to be", () => {
  const host = hostStatus(facts(machine(2, 1, 2)));
  expect(host.status.rollbackQueued).toBe(true);
  expect(host.spec.bootOrder).toBe("rollback");
  expect(statusText(host, false)).toContain("\n  Rollback image: example.org/os (queued)\n");
});

test("what is known of the image and of /usr is shown", () => {
  const text = statusText(hostStatus(facts(machine(1, 1))), false);
  expect(text.split("\n")).toEqual([
    "● Booted image: example.org/os",
    `        Digest: sha256:${"00".repeat(32)} (amd64)`,
    `        Verity: ${idOf(1)}`,
    "       Version: 13.2 (2025-03-04T05:06:07Z)",
    "         Index: 0",
    "  /usr overlay: transient, read/write",
    "",
    "something is odd",
    "",
  ]);
});

test("of a machine that was not booted by composefs all is null", () => {
  const host = unknownHostStatus(["no root"]);
  expect(host).toMatchObject({
    spec: { image: null, bootOrder: "default" },
    status: { staged: null, booted: null, rollback: null, type: null, usrOverlay: null },
  });
  expect(statusText(host, false)).toBe("System is not booted by composefs.\n\nno root\n");
});
