/** Times as RFC 3339 writes them. */

const RFC3339 =
  /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))$/;

/**
 * A time in UTC as bootc writes it: `2025-03-04T05:06:07Z`, with 3, 6 or 9 digits of a fraction if there is one. `undefined`
 * if the text is no RFC 3339.
 */
export function utcTimestamp(text: string): string | undefined {
  const [, date, time, fraction = "", sign, hours = "0", minutes = "0"] = RFC3339.exec(text) ?? [];
  const local = Date.parse(`${date}T${time}Z`);
  if (Number.isNaN(local)) return undefined;
  const offset = (Number(hours) * 60 + Number(minutes)) * (sign === "-" ? -60_000 : 60_000);
  const seconds = new Date(local - offset).toISOString().slice(0, "2025-03-04T05:06:07".length);
  const digits = fraction.replace(/0+$/, "");
  if (digits === "") return `${seconds}Z`;
  return `${seconds}.${digits.padEnd(Math.ceil(digits.length / 3) * 3, "0")}Z`;
}
