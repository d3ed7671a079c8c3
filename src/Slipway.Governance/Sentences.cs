using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>
/// The words for each kind of journal entry. Bodies of other modules are read by field name where a field says more than the subject alone;
/// a missing field only makes the sentence shorter.
/// </summary>
internal static class Sentences
{
    private const int ShortId = 12;

    private static readonly Dictionary<string, Func<JournalEntry, string>> Words = new(StringComparer.Ordinal)
    {
        ["user.created"] = e => $"created the user {e.Subject.Name}{Listed(" with the role ", e, "roles")}",
        ["user.disabled"] = e => $"disabled the user {e.Subject.Name}",
        ["apikey.created"] = e => $"created the API key {Field(e, "name") ?? e.Subject.Name}{After(" for ", Field(e, "owner"))}",
        ["apikey.revoked"] = e => $"revoked the API key {e.Subject.Name}{After(" of ", Field(e, "owner"))}",
        ["ownerlink.created"] = _ => "made the one-time link for the first owner",
        ["access.denied"] = e => $"was refused{After(" ", Field(e, "permission"))} on {Thing(e.Subject)}{Uncounted(e)}",
        ["policy.changed"] = e => $"put{After(" version ", Field(e, "version"), " of")} {Thing(e.Subject)} in force",

        ["gate.requested"] = e => $"asked to let {Thing(e.Subject)} pass{After(" the policy ", Field(e, "policy"))}{Rules(e)}",
        ["gate.decided"] = e => Field(e, "state") switch
        {
            "granted" => $"got {Thing(e.Subject)} through{After(" the policy ", Field(e, "policy"))}: every rule passed and no person has to agree",
            "superseded" => $"replaced an open request for {Thing(e.Subject)}{After(" under the policy ", Field(e, "policy"))} by a newer one",
            _ => $"could not get {Thing(e.Subject)} through{After(" the policy ", Field(e, "policy"))}: a rule did not pass",
        },
        ["vote.cast"] = e => $"{(Field(e, "approve") == "true" ? "approved" : "refused")} {Thing(e.Subject)}{Said(e)}",
        ["approval.granted"] = e => $"completed the approval of {Thing(e.Subject)}{After(" under the policy ", Field(e, "policy"))}",
        ["approval.denied"] = e => $"ended the approval of {Thing(e.Subject)}{After(" under the policy ", Field(e, "policy"))}: it is denied",
        ["approval.refused"] = e => $"tried to vote on {Thing(e.Subject)} and was stopped by {e.Reason ?? "a rule"}{After(": ", Field(e, "why"))}",

        ["dataset.created"] = e => $"created {Thing(e.Subject)}",
        ["dataset.committed"] = e => $"committed {Thing(e.Subject)}{After(" to ", Field(e, "branch"))}{Said(e)}",
        ["dataset.tagged"] = e => $"tagged {Thing(e.Subject)}{After(" as ", Field(e, "tag"))}",
        ["dataset.pinned"] = e => $"pinned {First(e, "dataset-version") ?? "a dataset version"} for {Thing(e.Subject)}",
        ["dataset.unpinned"] = e => $"let go of the data of {Thing(e.Subject)}",

        ["experiment.created"] = e => $"created {Thing(e.Subject)}{Named(e)}",
        ["experiment.changed"] = e => $"changed {Changed(e)} of {Thing(e.Subject)}",
        ["experiment.deleted"] = e => $"deleted {Thing(e.Subject)} and its runs",
        ["experiment.restored"] = e => $"restored {Thing(e.Subject)} and its runs",
        ["experiment.purged"] = e => $"purged {Thing(e.Subject)} and its runs",
        ["run.started"] = e => $"started {Thing(e.Subject)}{Named(e)}",
        ["run.finished"] = e => $"finished {Thing(e.Subject)}{After(" as ", Field(e, "status")?.ToLowerInvariant())}",
        ["run.reopened"] = e => $"opened {Thing(e.Subject)} again",
        ["run.inputs-logged"] = e => $"recorded that {Thing(e.Subject)} read {First(e, "dataset-version") ?? "data"}",
        ["run.models-logged"] = e => $"recorded that {Thing(e.Subject)} read {First(e, "logged-model") ?? "a model"}",
        ["run.outputs-logged"] = e => $"recorded that {Thing(e.Subject)} made {First(e, "logged-model") ?? "a model"}",
        ["run.deleted"] = e => $"deleted {Thing(e.Subject)}",
        ["run.restored"] = e => $"restored {Thing(e.Subject)}",
        ["run.purged"] = e => $"purged {Thing(e.Subject)}",
        ["artifact.stored"] = e => $"stored the file{After(" ", Field(e, "path"))} with {Thing(e.Subject)}",
        ["artifact.deleted"] = e => $"deleted the file{After(" ", Field(e, "path"))} of {Thing(e.Subject)}",
        ["view.saved"] = e => $"kept the view {e.Subject.Name}",
        ["view.deleted"] = e => $"forgot the view {e.Subject.Name}",
        ["logged-model.created"] = e => $"logged {Thing(e.Subject)}{Named(e)}{After(" from ", First(e, "run"))}",
        ["logged-model.changed"] = e => $"changed {Changed(e)} of {Thing(e.Subject)}",
        ["logged-model.finalized"] = e => $"finished the upload of {Thing(e.Subject)}{After(" as ", Field(e, "value")?.ToLowerInvariant())}",
        ["logged-model.deleted"] = e => $"deleted {Thing(e.Subject)}",
        ["model.created"] = e => $"created {Thing(e.Subject)}",
        ["model.changed"] = e => $"changed {Changed(e)} of {Thing(e.Subject)}",
        ["model.deleted"] = e => $"deleted {Thing(e.Subject)} and its versions",
        ["model.restored"] = e => $"restored {Thing(e.Subject)} and its versions",
        ["model.purged"] = e => $"purged {Thing(e.Subject)} and its versions",
        ["version.registered"] = e => $"registered {Thing(e.Subject)}{After(" from ", First(e, "run"))}",
        ["version.changed"] = e => $"changed {Changed(e)} of {Thing(e.Subject)}",
        ["version.deleted"] = e => $"deleted {Thing(e.Subject)}",
        ["alias.moved"] = e => $"moved the alias{After(" ", Field(e, "alias"))} to {Thing(e.Subject)}",
        ["alias.deleted"] = e => $"removed the alias{After(" ", Field(e, "alias"))} from {Thing(e.Subject)}",

        ["webhook.created"] = e => $"created {Thing(e.Subject)}{Named(e)}{After(" to ", Field(e, "url"))}",
        ["webhook.changed"] = e => $"changed {Thing(e.Subject)}{Named(e)}",
        ["webhook.deleted"] = e => $"deleted {Thing(e.Subject)}{Named(e)}",
        ["webhook.failed"] = e => $"gave up telling {Thing(e.Subject)} about {Field(e, "event") ?? "an event"}{Because(e)}",
        ["webhook.replayed"] = e => $"sent {Field(e, "event") ?? "an event"} to {Thing(e.Subject)} again",

        ["prediction.batch"] = e => $"closed a part of the prediction log{After(" with ", Field(e, "rows"), " predictions")}",
        ["prediction.deleted"] = e => $"deleted predictions of {Thing(e.Subject)}",
        ["label.deleted"] = e => $"deleted labels of {Thing(e.Subject)}",
        ["monitor.created"] = e => $"began to watch {First(e, "endpoint") ?? Thing(e.Subject)}{After(" for ", First(e, "model-version"))}",
        ["monitor.stopped"] = e => $"stopped {Thing(e.Subject)}",
        ["alert.fired"] = e => $"raised an alert{After(": ", Field(e, "sentence"))}",
        ["alert.updated"] = e => $"saw {Thing(e.Subject)} change{After(": ", Field(e, "sentence"))}",
        ["alert.resolved"] = e => $"saw {Thing(e.Subject)} end{After(": ", Field(e, "sentence"))}",
        ["alert.acknowledged"] = e => $"acknowledged {Thing(e.Subject)}{Said(e)}",
        ["alert.assigned"] = e => $"{(Field(e, "to") is { } name ? $"gave {Thing(e.Subject)} to {name}" : $"took {Thing(e.Subject)} from its owner")}",
        ["alert.snoozed"] = e => $"{(Field(e, "until") is { } until ? $"snoozed {Thing(e.Subject)} until {until}" : $"woke {Thing(e.Subject)}")}",
        ["alert-rules.changed"] = e => "put other alert rules in force",
        ["monitor.accepted"] = e => $"accepted the drift of a window of {Thing(e.Subject)}{Said(e)}",
        ["monitor.rebased"] = e => $"made a window the reference of {Thing(e.Subject)}",
        ["silence.created"] = e => $"silenced alerts until {Field(e, "endsAt") ?? "a time"}{Said(e)}",
        ["silence.extended"] = e => $"extended {Thing(e.Subject)} until {Field(e, "endsAt") ?? "a time"}",
        ["silence.expired"] = e => $"ended {Thing(e.Subject)}",
        ["routing.changed"] = e => $"changed who hears of which alerts{After(": version ", Field(e, "version"))}",
        ["receiver.changed"] = e => $"{(Field(e, "removed") == "true" ? "removed" : "set")} {Thing(e.Subject)}{After(" at ", Field(e, "url"))}",
        ["notification.delivered"] = e => $"told {Field(e, "receiver") ?? "a receiver"} about {First(e, "alert") ?? Thing(e.Subject)}",
        ["notification.failed"] = e => $"could not tell {Field(e, "receiver") ?? "a receiver"} about {First(e, "alert") ?? Thing(e.Subject)}{Because(e)}",

        ["endpoint.created"] = e => $"created {Thing(e.Subject)}{After(" serving ", First(e, "model-version"))}",
        ["endpoint.changed"] = e => $"changed how {Thing(e.Subject)} routes its traffic{Because(e)}",
        ["endpoint.loaded"] = e => $"loaded {Thing(e.Subject)} again",
        ["endpoint.unloaded"] = e => $"took {Thing(e.Subject)} out of memory",
        ["endpoint.deleted"] = e => $"deleted {Thing(e.Subject)}",
        ["rollout.proposed"] = e => $"proposed {Thing(e.Subject)}{Candidate(e)}",
        ["rollout.started"] = e => $"started {Thing(e.Subject)}{Candidate(e)}",
        ["rollout.stepped"] = e => $"moved {Thing(e.Subject)} on{After(" to ", Field(e, "percent"), " % of the traffic")}",
        ["rollout.resumed"] = e => $"resumed {Thing(e.Subject)}",
        ["rollout.paused"] = e => $"paused {Thing(e.Subject)}{Because(e)}",
        ["rollout.aborted"] = e => $"rolled {Thing(e.Subject)} back{Because(e)}",
        ["rollout.finished"] = e => $"finished {Thing(e.Subject)}{After(": all traffic goes to ", Field(e, "candidate"))}",

        ["pipeline.applied"] = e => $"applied {Thing(e.Subject)}",
        ["pipeline-run.started"] = e => $"started {Thing(e.Subject)}{After(" because of ", First(e, "alert"))}",
        ["pipeline-run.finished"] = e => $"finished {Thing(e.Subject)}{After(" as ", (Field(e, "status") ?? Field(e, "state"))?.ToLowerInvariant())}",
        ["trigger.fired"] = e => $"fired {Thing(e.Subject)}{After(" on ", First(e, "alert"))}",
        ["trigger.suppressed"] = e => $"held {Thing(e.Subject)} back{After(" on ", First(e, "alert"))}{Because(e)}",
    };

    /// <summary>The kinds that have words of their own.</summary>
    public static IReadOnlyCollection<string> Kinds => Words.Keys;

    /// <summary>The sentence; control characters that a person typed cannot break the line it stands in.</summary>
    public static string Of(JournalEntry e)
    {
        var sentence = Say(e);
        return sentence.Any(char.IsControl) ? string.Concat(sentence.Select(c => char.IsControl(c) ? ' ' : c)) : sentence;
    }

    private static string Say(JournalEntry e)
    {
        var said = Words.TryGetValue(e.Kind, out var words) ? words(e) : $"recorded {e.Kind} on {Thing(e.Subject)}";
        var failed = e.Outcome == "success" || e.Kind is "approval.refused" or "access.denied" ? "" : $" ({e.Outcome}{After(": ", e.Reason)})";
        return $"{Who(e.Actor)} {said}{failed}";
    }

    private static string Who(Actor actor) => actor.Kind == ActorKind.System ? $"the {actor.Name}" : actor.OnBehalfOf is { } person && person != actor.Name ? $"{actor.Name} for {person}" : actor.Name;

    /// <summary>"model-version flights/2"; long hexadecimal ids are cut, as on every screen.</summary>
    private static string Thing(Subject subject) => $"{subject.Kind} {string.Join('/', subject.Name.Split('/').Select(Short))}";

    private static string Short(string part) => part.Length > 24 && part.All(char.IsAsciiHexDigitLower) ? part[..ShortId] : part;

    private static string? First(JournalEntry e, string kind)
    {
        foreach (var link in e.Links)
        {
            if (link.Kind == kind) return Thing(link);
        }
        return null;
    }

    private static string? Field(JournalEntry e, string name)
    {
        if (e.Body.ValueKind != JsonValueKind.Object || !e.Body.TryGetProperty(name, out var value)) return null;
        return value.ValueKind switch
        {
            JsonValueKind.String => value.GetString() is { Length: > 0 } text ? text : null,
            JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False => value.GetRawText(),
            _ => null,
        };
    }

    private static string Listed(string before, JournalEntry e, string name) =>
        e.Body.ValueKind == JsonValueKind.Object && e.Body.TryGetProperty(name, out var list) && list.ValueKind == JsonValueKind.Array && list.GetArrayLength() > 0
            ? before + string.Join(", ", list.EnumerateArray().Select(i => i.ToString()))
            : "";

    private static string Rules(JournalEntry e)
    {
        if (e.Body.ValueKind != JsonValueKind.Object || !e.Body.TryGetProperty("rules", out var rules) || rules.ValueKind != JsonValueKind.Array || rules.GetArrayLength() == 0) return "";
        var passed = rules.EnumerateArray().Count(r => r.TryGetProperty("outcome", out var o) && o.ValueKind == JsonValueKind.String && o.GetString() == RuleResult.Pass);
        return $": {passed} of {rules.GetArrayLength()} rules passed";
    }

    private static string Uncounted(JournalEntry e) => Field(e, "unwritten") is { } n and not "0" ? $" ({n} more refusals before it were not written)" : "";

    private static string Named(JournalEntry e) => Field(e, "name") is { } name && name != e.Subject.Name ? $" \"{name}\"" : "";

    private static string Candidate(JournalEntry e) => After(" of ", Field(e, "candidate") ?? First(e, "model-version"));

    private static string Changed(JournalEntry e) => Field(e, "field") switch
    {
        "tag" => $"the tag{After(" ", Field(e, "key"))}",
        "tag-deleted" => $"(removed) the tag{After(" ", Field(e, "key"))}",
        { } field => $"the {field}",
        null => "something",
    };

    private static string Said(JournalEntry e) => After(": ", Field(e, "comment") ?? Field(e, "message"));

    private static string Because(JournalEntry e) => After(": ", Field(e, "reason") ?? Field(e, "cause") ?? Field(e, "why") ?? Field(e, "error"));

    private static string After(string before, string? text, string behind = "") => text is null ? "" : before + text + behind;
}
