/**
 * dpkg's database of installed packages (`/var/lib/dpkg/status`, deb-control syntax): which there are, in which versions.
 *
 *     Package: bash
 *     Status: install ok installed
 *     Architecture: amd64
 *     Version: 5.2.37-2
 */

export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
}

/** Reads the text. Never throws: stanzas without a package that is installed are left out. */
export function parseDpkgStatus(text: string): DebianPackage[] {
  return text.split(/\n[ \t]*\n/).flatMap((stanza): DebianPackage[] => {
    const fields = new Map<string, string>();
    for (const line of stanza.split("\n")) {
      const [, key, value] = /^([!-9;-~]+):[ \t]*(.*?)[ \t\r]*$/.exec(line) ?? [];
      if (key !== undefined && !fields.has(key.toLowerCase()))
        fields.set(key.toLowerCase(), value!);
    }
    const [name, version] = [fields.get("package"), fields.get("version")];
    // without a status: a file of status.d, as images without dpkg have it
    const installed = fields.get("status")?.endsWith(" installed") ?? true;
    if (!name || !version || !installed) return [];
    return [{ name, version, architecture: fields.get("architecture") ?? "" }];
  });
}
