from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('monitors', '0003_carry_over'),
    ]

    operations = [
        migrations.DeleteModel('OldCheckResult'),
    ]
