"""Says of the incidents there are who opened them, and of which rule and monitor."""

from django.db import migrations


def carry_over(apps, schema_editor):
    Incident = apps.get_model("incidents", "Incident")
    IncidentAlert = apps.get_model("incidents", "IncidentAlert")
    Incident.objects.filter(source="API").update(badge="API")
    Incident.objects.filter(source="ALERT").update(badge="Auto: Uptime")
    links = IncidentAlert.objects.filter(incident__source="ALERT")
    taken = set()
    # Newest first: of those that are open, only one can have the place.
    for link in links.select_related("incident", "alert").order_by("-pk").iterator():
        rule, monitor = link.alert.rule_id, link.alert.monitor_id
        is_open = link.incident.ended_at is None and link.incident.deleted_at is None
        if None in (rule, monitor) or (is_open and (rule, monitor) in taken):
            continue
        if is_open:
            taken.add((rule, monitor))
        Incident.objects.filter(pk=link.incident_id).update(rule=rule, monitor=monitor)


class Migration(migrations.Migration):
    dependencies = [("incidents", "0002_safeguards")]

    operations = [migrations.RunPython(carry_over, migrations.RunPython.noop)]
