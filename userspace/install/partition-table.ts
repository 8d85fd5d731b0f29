/** Makes a plan's partition table, by sfdisk(8). */
import { sfdiskScript } from "../../src/model/disk-layout.ts";
import type { DiskPlan } from "./disk-plan.ts";
import { runProgram } from "./programs.ts";

/** `file`: there is nobody to be told of the new partitions; otherwise a disk that is in use is an error. What was there is gone. */
export function makeTable(
  path: string,
  { partitions, sectorSize }: Pick<DiskPlan, "partitions" | "sectorSize">,
  file: boolean,
): void {
  const uuids = partitions.map(({ partitionUuid }) => partitionUuid);
  const input = sfdiskScript(partitions, uuids, sectorSize);
  const wipe = ["--wipe", "always", "--wipe-partitions", "always"];
  // udev, which looks at each change, keeps away from a disk that is locked
  const how = file ? ["--no-reread", "--no-tell-kernel"] : ["--lock=yes"];
  runProgram("sfdisk", ["--quiet", ...wipe, ...how, path], { input });
}
