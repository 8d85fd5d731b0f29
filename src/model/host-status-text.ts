/** The status of a machine for people: a block for each deployment, as bootc shows them, then what else there is to say. */
import type { BootEntry, DeploymentStatus, HostStatus, ImageReference } from "./host-status.ts";

const LABELS = {
  staged: "  Staged",
  booted: "● Booted",
  rollback: "  Rollback",
  other: "   Other",
} as const;

const NONE = "System is not booted by composefs.\n";

/** The text; `verbose`: with what is seldom asked for. */
export function statusText(host: HostStatus, verbose: boolean): string {
  const { staged, booted, rollback, otherDeployments = [] } = host.status;
  const entries = [staged, booted, rollback, ...otherDeployments].filter((one) => one !== null);
  const blocks = entries.map((entry) => block(entry, host, verbose));
  const notes = notesOf(host, verbose);
  const text = blocks.length === 0 ? NONE : blocks.join("\n");
  return notes.length === 0 ? text : `${text}\n${notes.map((note) => `${note}\n`).join("")}`;
}

function block(entry: BootEntry, host: HostStatus, verbose: boolean): string {
  const { verity } = entry.composefs;
  const ours = host.cfsboot.deployments.find(({ id }) => id === verity);
  if (ours === undefined) return visibleBlock(entry);
  const queued = ours.slot !== "staged" && ours.slot !== "booted" && ours.next ? " (queued)" : "";
  const { image } = entry;
  const label = `${LABELS[ours.slot]} ${image === null ? "composefs" : "image"}`;
  const title =
    image === null ? `${label}${queued}` : `${label}: ${referenceText(image.image)}${queued}`;
  const rows: [string, string][] = [];
  if (image === null) rows.push(["Commit", verity]);
  else {
    rows.push(["Digest", `${image.imageDigest} (${image.architecture})`], ["Verity", verity]);
    const timestamp = image.timestamp?.replace(/\.\d+Z$/, "Z");
    if (image.version !== null) {
      rows.push(["Version", `${image.version}${timestamp === undefined ? "" : ` (${timestamp})`}`]);
    } else if (timestamp !== undefined) rows.push(["Timestamp", timestamp]);
  }
  rows.push(["Index", `${ours.index}`]);
  if (entry.pinned) rows.push(["Pinned", "yes"]);
  rows.push(...conditionOf(ours));
  const { usrOverlay } = host.status;
  if (ours.slot === "booted" && usrOverlay !== null) {
    const mode = usrOverlay.accessMode === "readOnly" ? "read-only" : "read/write";
    rows.push(["/usr overlay", `${usrOverlay.persistence}, ${mode}`]);
  }
  if (verbose) rows.push(...verboseRows(entry, ours));
  else if (ours.downloadOnly) rows.push(["Download-only", "yes"]);
  const lines = rows.map(([name, value]) => `${name.padStart(label.length)}: ${value}`);
  return `${[title, ...lines].join("\n")}\n`;
}

/** What runs, where its entry in the boot menu cannot be seen. */
function visibleBlock({ image, composefs: { verity } }: BootEntry): string {
  const { booted } = LABELS;
  if (image === null) return `${booted} composefs\n${"Commit".padStart(18)}: ${verity}\n`;
  const digest = `${image.imageDigest} (${image.architecture})`;
  return `${booted} image: ${referenceText(image.image)}\n${"Digest".padStart(14)}: ${digest}\n${"Verity".padStart(14)}: ${verity}\n`;
}

/** A reference as bootc shows it: without the transport if that is a registry. */
export function referenceText({ transport, image }: ImageReference): string {
  return transport === "registry" ? image : `${transport}:${image}`;
}

/** What is wrong with it, or not sure yet. */
function conditionOf({ tries, dropped, damage }: DeploymentStatus): [string, string][] {
  const rows: [string, string][] = [];
  if (tries !== null && tries.left > 0) {
    const times = tries.left === 1 ? "once" : `${tries.left} times`;
    rows.push(["Tries", `not yet proven, is tried ${times} more`]);
  }
  if (dropped) rows.push(["Dropped", "when the staged deployment takes over"]);
  for (const why of damage) rows.push(["Damaged", why]);
  return rows;
}

function verboseRows(entry: BootEntry, ours: DeploymentStatus): [string, string][] {
  const { signature } = entry.image?.image ?? {};
  const { added, deleted } = ours.localKargs;
  return [
    ...(signature === undefined ? [] : ([["Signature", signatureText(signature)]] as const)),
    ["Soft-reboot", entry.softRebootCapable ? "yes" : "no"],
    ["FsVerity", entry.composefs.missingVerityAllowed ? "Not Enforced" : "Enforced"],
    ...(ours.slot === "staged"
      ? ([["Download-only", entry.downloadOnly ? "yes" : "no"]] as const)
      : []),
    ["Entry", ours.entry],
    ["Kernel", ours.kernel],
    ["Kargs", ours.options ?? "none"],
    ...(added.length > 0 ? ([["Kargs added", added.join(" ")]] as const) : []),
    ...(deleted.length > 0 ? ([["Kargs deleted", deleted.join(" ")]] as const) : []),
  ].map(([name, value]): [string, string] => [name!, value!]);
}

function signatureText(signature: NonNullable<ImageReference["signature"]>): string {
  if (signature === "containerPolicy") return "container-policy";
  return `ostree-remote:${signature.ostreeRemote}`;
}

/** What is not about one deployment. */
function notesOf({ cfsboot, status }: HostStatus, verbose: boolean): string[] {
  const { leftovers, foreignEntries, trouble, warnings } = cfsboot;
  const notes = [...warnings];
  if (trouble !== null) notes.push(`Trouble: ${trouble.message}`, `hint: ${trouble.hint}`);
  if (status.readOnly) notes.push("The disk can only be read.");
  if (leftovers.record !== null) {
    notes.push(`What was staged is lost: ${leftovers.record.slice(0, 12)}`);
  }
  const count = leftovers.states.length + leftovers.kernels.length + (leftovers.stagedMenu ? 1 : 0);
  if (count > 0) {
    const things = count === 1 ? "thing" : "things";
    notes.push(`${count} ${things} that no deployment needs: cfsboot gc removes what is left over`);
  }
  if (verbose) {
    for (const { name, title, problem } of foreignEntries) {
      const what = [title, problem].filter((text) => text !== null).join(", ");
      notes.push(`Boot entry of others: ${name}${what === "" ? "" : ` (${what})`}`);
    }
  }
  return notes;
}
