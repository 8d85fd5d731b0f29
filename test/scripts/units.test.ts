/** The units that are shipped: when they run, and what they wait for. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const directory = join(import.meta.dirname, "../../systemd");
const units = readdirSync(directory).filter((name) => name.endsWith(".service"));
const lines = (unit: string) => readFileSync(join(directory, unit), "utf8").split("\n");
const values = (unit: string, key: string) =>
  lines(unit).flatMap((line) =>
    line.startsWith(`${key}=`) ? line.slice(key.length + 1).split(" ") : [],
  );

test("no unit waits for a mark that only ostree leaves (bootc#2437)", () => {
  expect(units.length).toBeGreaterThan(3);
  for (const unit of units) expect(lines(unit).join("\n"), unit).not.toMatch(/ostree/);
});

test("what a boot by composefs needs runs with either of its arguments (bootc defect: condition of the unit)", () => {
  for (const unit of ["composefs-setup-root.service", "cfsboot-boot-complete.service"]) {
    // with | one of them is enough
    expect(values(unit, "ConditionKernelCommandLine"), unit).toEqual([
      "|composefs",
      "|composefs.digest",
    ]);
  }
});

test("an automounted /boot is held until what is staged is finalized (bootc#2402, bootc#2411, bootc#2496)", () => {
  const [finalize, hold] = ["", "-hold"].map((name) => `cfsboot-finalize-staged${name}.service`);
  expect(values(finalize!, "RequiresMountsFor")).toEqual(["/sysroot", "/boot"]);
  expect(values(finalize!, "Wants")).toContain(hold);
  expect(values(finalize!, "After")).toContain(hold); // so it is stopped before
  // a process whose directory it is, in the namespace that the automount is in
  expect(values(hold!, "WorkingDirectory")).toEqual(["/boot"]);
  expect(values(hold!, "RequiresMountsFor")).toEqual(["/boot"]);
  const own = /^(PrivateMounts|PrivateTmp|ProtectSystem|ProtectHome|ReadOnlyPaths|MountFlags)=/;
  expect(lines(hold!).filter((line) => own.test(line))).toEqual([]);
});
